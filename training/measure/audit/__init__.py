"""Does anything but the edit give the labels away?"""
