"""How networks are trained: tasks, compiled steps, the loop, several runs in one program, several hosts."""
