"""What can be done with a node at this computer's USB socket: update it, talk to it, read its log, ask what ails it."""
