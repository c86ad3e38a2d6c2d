"""A study begun: its folder, settings and table to fill in; and the settings of what a beginner calls first.

Writes over nothing; opens no slide.

    new_study.py       a folder made ready for slides, nothing in it written over
    settings_file.py   study.yaml with every option as its class has it, commented out
    sample_table.py    cohort.csv to fill in: the slides that are there, or examples
    demo_settings.py   the settings of the demonstration
    doctor_settings.py the settings of the doctor
"""
