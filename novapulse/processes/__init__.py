"""Composition roots: what each process of the appliance is made of."""
