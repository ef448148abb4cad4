"""What is learned of slices without training a network: frozen networks' outputs, texture, classical heads."""
