"""The embedded mongod and redis-server: find, configure, start line, health, first users.

Who starts and watches them is decided elsewhere; nothing here keeps a process.
"""
