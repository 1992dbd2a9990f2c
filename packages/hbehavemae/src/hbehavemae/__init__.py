"""hBehaveMAE: hierarchical masked autoencoders that learn behaviour from tracked poses."""
