"""What the machine can do: speed of the learners and of whole algorithms, and of peers beside them."""
