"""``keyturn serve``: settings, secrets, assembly, processes, logs and the doctor."""
