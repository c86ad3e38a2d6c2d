"""A network bound to where it computes: uint8 tiles in, embeddings out.

Which encoder it is stands in `encoder`, which tiles it gets in `embedding`.

    runtime.py        an encoder bound to a device, whatever device it is
    binding.py        which of the runtimes takes a network
    network.py        a network with its transform in front and its pooling behind
    cpu.py            OpenVINO's float32, or plain PyTorch
    quiet_converter.py  OpenVINO without its reports to a web service
    gpu.py            one or several GPUs: copies cross while others are computed
    gpu_precision.py  whether float16 gives float32's embeddings
    painted_tiles.py  the fixed set of painted tiles on which that is decided
    tile_pixels.py    resize, colour map and the encoder's own transform on the device
    colour_tables.py  the tables of slides' colour maps, kept on each device
"""
