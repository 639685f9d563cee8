"""The pair on a laptop: the real handlers, an embedded AWS, and stand-ins for the rest."""
