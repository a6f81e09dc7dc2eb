"""Mail: one job kind, its templates, and the ways out: an SMTP server or the spool."""
