"""Who is in a company and how they get in: members, companies, invites, API tokens."""
