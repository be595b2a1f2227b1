# Loads this package, and its runner, which checks config and data before it trains.
runner_type = 'CheckingRunner'
custom_imports = dict(imports=['mmdet_setdet'], allow_failed_imports=False)
