"""A real HTCondor pool on loopback: daemons in a Debian chroot, simulated GPUs, real negotiation."""
