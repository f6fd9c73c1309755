"""From features to pseudo labels: neighbours, k-reciprocal Jaccard distance, DBSCAN, centroids."""
