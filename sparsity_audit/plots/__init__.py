"""Pictures of histories, reports and studies."""
