"""How people get in and prove themselves: sign-in, second factor, recovery, own profile."""
