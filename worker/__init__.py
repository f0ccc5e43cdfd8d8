"""What runs beside the control plane: control tasks, agents, trainers, compressors, the data plane."""
