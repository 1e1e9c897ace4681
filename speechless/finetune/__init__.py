"""Fine-tune a model: task directories (init, run, merge, list), the trainer, and the recipes behind them."""
