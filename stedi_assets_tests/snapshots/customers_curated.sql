SELECT
  "t2"."serialnumber",
  "t2"."sharewithpublicasofdate",
  "t2"."birthday",
  "t2"."registrationdate",
  "t2"."sharewithresearchasofdate",
  "t2"."customername",
  "t2"."email",
  "t2"."lastupdatedate",
  "t2"."phone",
  "t2"."sharewithfriendsasofdate"
FROM "customer_trusted" AS "t2"
SEMI JOIN "accelerometer_trusted" AS "t3"
  ON "t2"."email" = "t3"."user"
