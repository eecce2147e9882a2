"""The 3D channel: frames with depth and camera poses, encoders that know where each token lies."""
