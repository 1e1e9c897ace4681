"""A trainer class of your own: what it defines takes the place of the objective's own trainer, and all else stays.

In task.env: MISC_PARAMS="--custom_training_module_file ./custom_training.py --custom_trainer_name FocalLoss"
"""

from transformers import Trainer


class FocalLoss(Trainer):
    """Batches that the model knows weigh less (arXiv:1708.02002, on the mean loss)."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of a batch."""
        loss = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        return (1 - (-loss).exp()) ** 2 * loss
