"""Random augmentation of a whole batch on the device, by kornia."""

from torch import nn

from worker.training.config import Augmentation


def build_augmentation(settings: Augmentation, image_shape: tuple[int, int, int]) -> nn.Module:
    """A module float [N, C, H, W] → the same shape; the identity where nothing is asked for.

    Its randomness comes from torch's global generator, which checkpoints keep.
    """
    # Half a second of imports on top of torch: only a training that augments should pay.
    from kornia import augmentation as kornia  # noqa: PLC0415 - see above

    if not settings.enabled:
        return nn.Identity()
    stages: list[nn.Module] = []
    if settings.rotation_degrees or settings.translate or settings.scale_minimum != settings.scale_maximum:
        stages.append(
            kornia.RandomAffine(
                degrees=settings.rotation_degrees,
                translate=(settings.translate, settings.translate),
                scale=(settings.scale_minimum, settings.scale_maximum),
                p=1.0,
            )
        )
    if settings.crop_padding:
        stages.append(kornia.RandomCrop(image_shape[1:], padding=settings.crop_padding, p=1.0))
    if settings.horizontal_flip:
        stages.append(kornia.RandomHorizontalFlip(p=0.5))
    return nn.Sequential(*stages)
