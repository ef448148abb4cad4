"""Other people's images: what they are, what runs say of them, and when runs should say nothing."""
