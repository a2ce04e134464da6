"""A laboratory: an agent proposes and explores; a person opens the validation set."""
