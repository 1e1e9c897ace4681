"""Reports of faults in other operators, tried on this one: `python -m tests.cases` lists them and runs one by one."""
