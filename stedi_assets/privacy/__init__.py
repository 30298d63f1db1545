"""What people are entitled to: their data goes when they withdraw, their identity stays hidden."""
