"""Engines of TensorRT on a CUDA device, through the driver API and without torch.

From the bottom up: :mod:`driver` (calls that either work or say in a sentence why not), :mod:`memory` and
:mod:`staging` (who owns which bytes, on the device and on the way there), :mod:`device` (tensors), :mod:`recording` (a
decode step as one CUDA graph), :mod:`library`, :mod:`context` and :mod:`session` (TensorRT), :mod:`backend` (what the
decoder sees).
"""
