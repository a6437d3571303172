"""What happens when something fails: the network, the loop, the application, the process, the machine's supplies."""
