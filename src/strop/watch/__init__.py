"""Watch: a run's tripwires at work. What it measures goes on the metrics line; what that means is `strop.tripwires`."""
