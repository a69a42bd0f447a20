"""Policy: the policy language, the judgement of files, and the reasons of verdicts. Pure: no clock, disk or network."""
