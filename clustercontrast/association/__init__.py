"""Which visible cluster belongs to which infrared cluster."""
