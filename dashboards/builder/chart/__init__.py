"""What the Helm chart in `collector/kubernetes` carries of everything else."""
