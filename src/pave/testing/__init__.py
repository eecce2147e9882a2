"""What authors of plug-ins test theirs with: the checks that pave's own encoders, families and fusions pass."""
