"""Small nouns that every feature uses; imports no feature."""
