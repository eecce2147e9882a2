"""How the embedded base `smol` was trained, from its wheels and the world."""
