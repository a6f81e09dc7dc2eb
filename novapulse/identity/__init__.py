"""Companies, users and sessions: who somebody is and what they may do."""
