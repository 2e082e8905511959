-- How many samples a detector had learnt from that wants more before it says anything. NULL: it has seen enough.
ALTER TABLE memories ADD COLUMN seen INTEGER;
