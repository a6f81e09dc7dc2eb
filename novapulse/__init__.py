"""NovaPulse: a self-hosted work-and-webhook platform in one program."""

__version__ = "0.1.0"
