"""What happens by itself: refreshes as landing files arrive, and alerts."""
