"""The 3D channel: frames with depth and camera poses, and encoders that know where in the world each token lies."""
