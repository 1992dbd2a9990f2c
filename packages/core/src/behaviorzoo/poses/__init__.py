"""From recordings to the numbers that a network takes: choice, normalisation, features.

``config`` has what a user can say, ``selection`` which points of a file are taken, ``normalise``
where coordinates are measured from, ``scalars`` distances and speeds, ``features`` all of it put
together, and ``stored`` whole recordings with the state that makes other files be treated alike.
"""
