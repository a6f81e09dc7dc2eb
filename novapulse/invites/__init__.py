"""How people get into a company: an address is invited, its link makes an account."""
