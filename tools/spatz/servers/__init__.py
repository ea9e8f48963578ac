"""Other people's network servers, and our own: the nodes of a town are put there, with their keys and our decoder."""
