# Loads this package, and its runner, which checks config and data before it trains.
runner_type = 'CheckingRunner'
custom_imports = dict(imports=['mmdet_setdet'], allow_failed_imports=False)

# Each process draws its own noise, dropout and augmentation; weights and the order of images are the same.
randomness = dict(seed=None, diff_rank_seed=True)
# Products of float32 matrices in TF32, where a GPU has it, as torch computes convolutions; 'highest' is exact.
matmul_precision = 'high'
