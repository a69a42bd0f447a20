"""What an organisation approves: the policy's language, its judge, its reasons. Pure: no clock, disk or network."""
