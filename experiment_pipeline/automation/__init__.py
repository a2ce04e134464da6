"""What starts an experiment without a hand: its job, its schedule, its new-data sensor."""
