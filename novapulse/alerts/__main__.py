"""Print the rule file for Prometheus: `python -m novapulse.alerts`."""

import sys

from novapulse.alerts.prometheus import render

sys.stdout.write(render())
