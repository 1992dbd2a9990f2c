"""The starting point of the settings of `hysp prepare`: the defaults of its dataclass."""
