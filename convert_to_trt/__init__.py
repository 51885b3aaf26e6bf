"""From a trained mask classifier to the file that the robot runs."""
