"""What comes from elsewhere is looked at before it is used: names, settings, folders to write into, files of arrays.

Cells of tables have their guard beside the rooms (common/table_cells.py): every table is written with it.

    names.py        what may be the name of a file or folder, one rule for all commands
    one_at_a_time.py    two runs do not write the same result at once
    own_files.py    folders written and tidied: never through a link, and only files of our own pattern go
    sealed_files.py    a checksum of all bytes at a file's end, looked at before anything reads the file
    hdf5_files.py   an HDF5 file looked over before a value is read
    hdf5_contents.py    links, claims and places of arrays in an open file
    hdf5_writing.py    a file written on a disk that may fail
    hdf5_probe.py    a file without a checksum read through by another process, which may hang or crash alone
    interruption.py    Ctrl-C, and a missing package, while modules load
    environment.py    which Python a script needs, and how to get it
    safe_yaml.py    YAML within bounds
"""
