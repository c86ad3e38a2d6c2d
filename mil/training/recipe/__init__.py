"""How a head is trained to the end: its rate by epoch, who stands in a step together, and whether it learnt anything.

schedule.py  how many epochs, and the rate of each: a warm-up, then a cosine to zero
batches.py   patients dealt to steps, every stratum spread evenly over them; how many are at risk together
learning.py  the loss of a head that was not trained, and the refusal of one that did not get below it
tensorboard_events.py  the losses of every epoch for TensorBoard, where it is asked for
epoch_store.py  the state of a training between two epochs, in a file
"""
