"""Running the appliance: health, metrics, queue statistics, the API's own documentation."""
